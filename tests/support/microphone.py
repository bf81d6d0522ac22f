"""A microphone for Chromium: a file in which espeak-ng says a sentence, with silence behind it, played over and over."""

import io
import subprocess
import wave
from pathlib import Path


def microphone(folder: Path, said: str, silence: float = 4.0) -> tuple[str, ...]:
    """The arguments with which Chromium hears it. silence: seconds between two times."""
    spoken = subprocess.run(("espeak-ng", "--stdout", said), capture_output=True, check=True, timeout=60).stdout
    path = folder / "microphone.wav"
    with wave.open(io.BytesIO(spoken)) as heard, wave.open(str(path), "wb") as file:
        file.setparams(heard.getparams())
        samples = heard.readframes(2**30)
        file.writeframes(samples + bytes(int(silence * heard.getframerate()) * 2))
    return (f"--use-file-for-fake-audio-capture={path}", "--autoplay-policy=no-user-gesture-required")
