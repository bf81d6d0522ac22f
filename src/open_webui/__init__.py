"""oui-backend's server: accounts, chats and any model behind one HTTP and socket API, compatible with Open WebUI's."""

__version__ = "0.1.0"
