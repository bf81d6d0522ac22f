"""Values that never change while the product runs: the wire release we speak, limits, and the sentences people read."""

from typing import Final

# The release of the wire contract. The page compares it on every reconnect and reloads when it changed.
WIRE_VERSION: Final = "0.12.4"
PRODUCT: Final = "oui-backend"

MAX_NAME: Final = 200
MAX_EMAIL: Final = 254
# Argon2 takes any length; hashing a megabyte takes time that an attacker chooses.
MAX_PASSWORD: Final = 1024
MAX_TITLE: Final = 2_000
MAX_ID: Final = 255
# Characters of a plugin. The largest of the published ones have a third of it.
MAX_PLUGIN: Final = 1_000_000
# A message tree is walked with a visited set; this bounds what one chat may hold.
MAX_MESSAGES: Final = 100_000
# Bytes of JSON of one message, or of one value of a chat beside its messages, when its pictures are files: what is read in
# one go holds up the event loop for half a millisecond a megabyte.
MAX_PART: Final = 24_000_000
# A message's key in its chat occupies the low bits of its row number (see models/messages.py).
MESSAGE_BITS: Final = 20
# A chunk's row number is its document's, shifted by so many bits, and its position.
CHUNK_BITS: Final = 16
# Provider lines beyond this are cut with an error; images in deltas are legitimately several megabytes.
MAX_PROVIDER_LINE: Final = 32 * 1024 * 1024
CHATS_PER_PAGE: Final = 60
USERS_PER_PAGE: Final = 30

# Bare markers that clients compare as codes.
NOT_AUTHENTICATED: Final = "Not authenticated"
UNAUTHORIZED: Final = "401 Unauthorized"

# Sentences for people.
NO_PERMISSION: Final = "You don't have permission to do this. An administrator of this server can grant it."
NOT_FOUND: Final = "We couldn't find what you are looking for."
ACTION_PROHIBITED: Final = "This action isn't allowed, to keep the server safe."
BAD_CREDENTIALS: Final = "The e-mail address or the password is not correct."
BAD_EMAIL: Final = "This doesn't look like an e-mail address. It should have the form name@example.com."
EMAIL_TAKEN: Final = "An account with this e-mail address exists already. Sign in to it, or choose another address."
MODEL_NOT_FOUND: Final = "Model not found"
SESSION_REQUIRED: Final = "A human session is required."
TOO_MANY_ATTEMPTS: Final = "Too many attempts. Wait a few minutes, then try again."

# What an administrator may take away.
NO_EDITS: Final = "You may not edit messages on this server."
NO_DELETIONS: Final = "You may not delete messages on this server."
BAD_JSON = "Invalid JSON payload"
FILE_NOT_SUPPORTED = (
    "Oops! It seems like the file format you're trying to upload is not supported. Please upload a file with a supported"
    " format and try again."
)
