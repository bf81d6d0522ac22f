"""Recordings with words in them: what espeak-ng speaks, in a WAV file of 16,000 samples a second, with silence between."""

import io
import subprocess
import wave

import numpy as np

RATE = 16_000


def said(text: str, *, voice: str = "en-us") -> bytes:
    """Samples, 16 bits each."""
    made = subprocess.run(
        ["espeak-ng", "-v", voice, "-s", "140", "--stdin", "--stdout"],
        input=text.encode(),
        capture_output=True,
        check=True,
    ).stdout
    samples = np.frombuffer(made[44 : len(made) - len(made) % 2], "<i2").astype(float)
    rate = int.from_bytes(made[24:28], "little")
    at = np.arange(int(len(samples) * RATE / rate)) * rate / RATE
    return np.interp(at, np.arange(len(samples)), samples).astype("<i2").tobytes()


def recording(*parts: str | int) -> bytes:
    """A WAV file. parts: texts that are spoken, and seconds of silence."""
    made = io.BytesIO()
    with wave.open(made, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for part in parts:
            file.writeframes(said(part) if isinstance(part, str) else bytes(part * RATE * 2))
    return made.getvalue()
