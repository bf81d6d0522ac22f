"""A generator that writes under a state and remembers: prompt, settings, answer, memory, and measures of the answer."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from consciousness.appraisal import Appraiser
from consciousness.base import TextGenerationBackend
from consciousness.emotions import EMOTIONS, checked_intensity, checked_state
from consciousness.engine import EmotionalEngine
from consciousness.express import style_sentence
from consciousness.memory import MemoryFragment, MemoryManager
from llamaforge.exceptions import GenerationError, LlamaForgeError

_WORD = re.compile(r"\w+")
_SNIPPETS, _SNIPPET = 3, 100


class ConsciousnessGenerationError(GenerationError):
    """An answer could not be made; the cause says why."""


class ConsciousnessLevel(StrEnum):
    """A label that a request carries into the metadata of its answer. It changes nothing else."""

    BASIC = "basic"
    ENHANCED = "enhanced"
    DEEP = "deep"
    TRANSCENDENT = "transcendent"


@dataclass(frozen=True, slots=True)
class ConsciousnessTextRequest:
    """What is asked. emotional_state: intensities from 0 to 1. memory_context: texts to be reminded of, beside what the
    generator remembers. persona_profile: such as {"name": "Ada", "traits": "curious, exact"}.
    """

    prompt: str
    emotional_state: Mapping[str, float] = field(default_factory=dict)
    memory_context: Sequence[str] = ()
    persona_profile: Mapping[str, str] = field(default_factory=dict)
    creativity_factor: float = 0.8
    consciousness_level: ConsciousnessLevel = ConsciousnessLevel.ENHANCED
    temperature_override: float | None = None
    max_tokens: int = 512
    stream: bool = False


@dataclass(frozen=True, slots=True)
class ConsciousnessTextResponse:
    """The answer and what was measured on it; each measure from 0 to 1, or None where there is nothing to measure.

    emotional_resonance: the emotions found in the answer, by the generator's appraiser. memory_updates: ids of what was
    remembered. persona_influence: share of the persona's words that the answer uses. creativity_measurement: share of
    different words in it.
    """

    text: str
    emotional_resonance: Mapping[str, float]
    consciousness_metadata: Mapping[str, Any]
    memory_updates: Sequence[str]
    generation_stats: Mapping[str, float]
    persona_influence: float | None
    creativity_measurement: float | None


class ConsciousnessTextGenerator:
    """Answers requests with a backend. One request at a time: the state is the backend's.

    appraiser: reads the emotions of answers; without one none are claimed.
    """

    def __init__(
        self, backend: TextGenerationBackend, *, appraiser: Appraiser | None = None, max_memory_fragments: int = 1000
    ) -> None:
        """max_memory_fragments: how much is remembered."""
        self.backend = backend
        self.engine = EmotionalEngine()
        self.memory = MemoryManager(max_memory_fragments)
        self._appraiser = appraiser
        self._answered = 0

    async def generate_conscious_response(self, request: ConsciousnessTextRequest) -> ConsciousnessTextResponse:
        """The answer to `request`, which is then remembered. Raises ConsciousnessGenerationError; nothing is remembered then."""
        began = time.perf_counter()
        try:
            state = checked_state(request.emotional_state)
            creativity = checked_intensity("creativity_factor", request.creativity_factor)
            remembered = [fragment.content for fragment in self.memory.retrieve(request.prompt, _SNIPPETS)]
            prompt = _prompt(request, [*request.memory_context, *remembered], style_sentence(state))
            derived = self.engine.process_emotional_state(state)
            self.backend.update_emotional_parameters(state)
            text = await self.backend.generate_text(prompt, _parameters(request, derived, creativity))
            found = {} if self._appraiser is None else dict((await self._appraiser.appraise(text)).emotions)
        except (LlamaForgeError, OSError, ValueError, RuntimeError) as error:
            raise ConsciousnessGenerationError(f"The answer could not be made: {error}") from error
        update = MemoryFragment(
            f"{request.prompt} {text}", emotional_weight=max(state.values(), default=0.0), emotional_tags=sorted(state)
        )
        self.memory.add(update)
        self._answered += 1
        return ConsciousnessTextResponse(
            text=text,
            emotional_resonance=found,
            consciousness_metadata={
                "generation_timestamp": update.timestamp,
                "consciousness_level": request.consciousness_level.value,
                "memory_influence": len(remembered) / _SNIPPETS,
                "emotional_coherence": None if self._appraiser is None else _coherence(state, found),
            },
            memory_updates=[update.id],
            generation_stats={
                "prompt_length": len(prompt),
                "response_length": len(text),
                "processing_time": time.perf_counter() - began,
            },
            persona_influence=_persona_influence(request.persona_profile, text),
            creativity_measurement=_variety(text),
        )

    def get_current_state(self) -> dict[str, Any]:
        """The backend's state, the memory of emotions, and how much is remembered and was answered."""
        return {
            "emotional_state": dict(self.backend.emotional_modifiers),
            "emotional_memory": dict(self.engine.memory),
            "memories": len(self.memory),
            "answered": self._answered,
        }

    async def search_memories(self, query: str, limit: int = 10) -> list[MemoryFragment]:
        """What is remembered with words of `query`, best first."""
        return self.memory.retrieve(query, limit)


def _prompt(request: ConsciousnessTextRequest, memories: Sequence[str], style: str) -> str:
    persona = ", ".join(f"{name}: {value}" for name, value in request.persona_profile.items())
    lines = [f"Persona: {persona}."] if persona else []
    if style:
        lines.append(style)
    lines += [f"Earlier: {memory[:_SNIPPET]}" for memory in memories[:_SNIPPETS]]
    return "\n".join([*lines, f"Human: {request.prompt}", "AI Assistant:"])


def _parameters(request: ConsciousnessTextRequest, derived: Mapping[str, float], creativity: float) -> dict[str, Any]:
    temperature = request.temperature_override
    return {
        "max_tokens": request.max_tokens,
        "temperature": derived["temperature"] if temperature is None else temperature,
        "top_p": derived["top_p"],
        "creativity_boost": derived["creativity_boost"] + 0.2 * creativity,
    }


def _coherence(wanted: Mapping[str, float], found: Mapping[str, float]) -> float:
    """1 less the mean difference over the eight emotions."""
    return 1.0 - sum(abs(wanted.get(name, 0.0) - found.get(name, 0.0)) for name in EMOTIONS) / len(EMOTIONS)


def _persona_influence(persona: Mapping[str, str], text: str) -> float | None:
    words = {word for value in persona.values() for word in _WORD.findall(str(value).lower())}
    return len(words & set(_WORD.findall(text.lower()))) / len(words) if words else None


def _variety(text: str) -> float | None:
    words = Counter(_WORD.findall(text.lower()))
    return len(words) / words.total() if words else None
