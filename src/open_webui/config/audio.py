"""What an admin may change about speech: who speaks, who listens, in which voices, what is listened to, and where calls go.

The names of the keys and variables are those of the contract, but for the limits and two addresses that it has not.
"""

from typing import Final

from open_webui.config.setting import Setting, flag, parse_list

SPOKEN: Final[tuple[Setting, ...]] = (
    Setting("audio.tts.api_key", str, "", ("AUDIO_TTS_API_KEY",), secret=True),
    Setting("audio.tts.azure.speech_base_url", str, "", ("AUDIO_TTS_AZURE_SPEECH_BASE_URL",)),
    Setting(
        "audio.tts.azure.speech_output_format",
        str,
        "audio-24khz-160kbitrate-mono-mp3",
        ("AUDIO_TTS_AZURE_SPEECH_OUTPUT_FORMAT",),
    ),
    Setting("audio.tts.azure.speech_region", str, "", ("AUDIO_TTS_AZURE_SPEECH_REGION",)),
    # Megabytes of speech that a process remembers; 0: none.
    Setting("audio.tts.cache_size", int, 256, ("AUDIO_TTS_CACHE_SIZE",)),
    Setting("audio.tts.elevenlabs.api_base_url", str, "https://api.elevenlabs.io", ("ELEVENLABS_API_BASE_URL",)),
    Setting("audio.tts.engine", str, "", ("AUDIO_TTS_ENGINE",)),
    Setting("audio.tts.mistral.api_base_url", str, "https://api.mistral.ai/v1", ("AUDIO_TTS_MISTRAL_API_BASE_URL",)),
    Setting("audio.tts.mistral.api_key", str, "", ("AUDIO_TTS_MISTRAL_API_KEY",), secret=True),
    Setting("audio.tts.model", str, "tts-1", ("AUDIO_TTS_MODEL",)),
    Setting("audio.tts.openai.api_base_url", str, "https://api.openai.com/v1", ("AUDIO_TTS_OPENAI_API_BASE_URL",)),
    Setting("audio.tts.openai.api_key", str, "", ("AUDIO_TTS_OPENAI_API_KEY",), secret=True),
    Setting("audio.tts.openai.params", dict, {}, ("AUDIO_TTS_OPENAI_PARAMS",)),
    Setting("audio.tts.split_on", str, "punctuation", ("AUDIO_TTS_SPLIT_ON",)),
    Setting("audio.tts.voice", str, "alloy", ("AUDIO_TTS_VOICE",)),
)
HEARD: Final[tuple[Setting, ...]] = (
    Setting(
        "audio.stt.allowed_extensions",
        list,
        ["mp3", "wav", "m4a", "webm", "ogg", "flac", "mp4", "mpga", "mpeg"],
        ("AUDIO_STT_ALLOWED_EXTENSIONS",),
        parse_list(","),
    ),
    Setting("audio.stt.azure.api_key", str, "", ("AUDIO_STT_AZURE_API_KEY",), secret=True),
    Setting("audio.stt.azure.base_url", str, "", ("AUDIO_STT_AZURE_BASE_URL",)),
    Setting("audio.stt.azure.locales", str, "", ("AUDIO_STT_AZURE_LOCALES",)),
    Setting("audio.stt.azure.max_speakers", str, "", ("AUDIO_STT_AZURE_MAX_SPEAKERS",)),
    Setting("audio.stt.azure.region", str, "", ("AUDIO_STT_AZURE_REGION",)),
    Setting("audio.stt.deepgram.api_base_url", str, "https://api.deepgram.com", ("DEEPGRAM_API_BASE_URL",)),
    Setting("audio.stt.deepgram.api_key", str, "", ("DEEPGRAM_API_KEY",), secret=True),
    Setting("audio.stt.engine", str, "", ("AUDIO_STT_ENGINE",)),
    # Seconds of a recording, and megabytes of its file, that are listened to.
    Setting("audio.stt.max_seconds", int, 14_400, ("AUDIO_STT_MAX_SECONDS",)),
    Setting("audio.stt.max_size", int, 100, ("AUDIO_STT_MAX_SIZE",)),
    Setting("audio.stt.mistral.api_base_url", str, "https://api.mistral.ai/v1", ("AUDIO_STT_MISTRAL_API_BASE_URL",)),
    Setting("audio.stt.mistral.api_key", str, "", ("AUDIO_STT_MISTRAL_API_KEY",), secret=True),
    flag("audio.stt.mistral.use_chat_completions", "AUDIO_STT_MISTRAL_USE_CHAT_COMPLETIONS", False),
    Setting("audio.stt.model", str, "", ("AUDIO_STT_MODEL",)),
    Setting("audio.stt.openai.api_base_url", str, "https://api.openai.com/v1", ("AUDIO_STT_OPENAI_API_BASE_URL",)),
    Setting("audio.stt.openai.api_key", str, "", ("AUDIO_STT_OPENAI_API_KEY",), secret=True),
    Setting("audio.stt.openai.api_request_format", str, "multipart", ("AUDIO_STT_OPENAI_API_REQUEST_FORMAT",)),
    Setting("audio.stt.supported_content_types", list, [], ("AUDIO_STT_SUPPORTED_CONTENT_TYPES",), parse_list(",")),
    Setting("audio.stt.whisper_model", str, "base", ("WHISPER_MODEL",)),
)
CALLED: Final[tuple[Setting, ...]] = (
    Setting("audio.realtime.auth_type", str, "api_key", ("AUDIO_REALTIME_AUTH_TYPE",)),
    flag("audio.realtime.enabled", "AUDIO_REALTIME_ENABLED", False),
    Setting("audio.realtime.input_params", dict, None, ("AUDIO_REALTIME_INPUT_PARAMS",), nullable=True),
    Setting("audio.realtime.model", str, "gpt-realtime-2.1-mini", ("AUDIO_REALTIME_MODEL",)),
    Setting(
        "audio.realtime.openai.api_base_url",
        str,
        "https://api.openai.com/v1",
        ("AUDIO_REALTIME_OPENAI_API_BASE_URL",),
    ),
    Setting("audio.realtime.openai.api_key", str, "", ("AUDIO_REALTIME_OPENAI_API_KEY",), secret=True),
    Setting("audio.realtime.prompt_template", str, None, ("REALTIME_CALL_PROMPT_TEMPLATE",), nullable=True),
    Setting("audio.realtime.provider", str, "openai", ("AUDIO_REALTIME_PROVIDER",)),
    Setting("audio.realtime.transcription_model", str, "gpt-transcribe", ("AUDIO_REALTIME_TRANSCRIPTION_MODEL",)),
    Setting("audio.realtime.voice", str, "marin", ("AUDIO_REALTIME_VOICE",)),
)
SETTINGS: Final = SPOKEN + HEARD + CALLED
