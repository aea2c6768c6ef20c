"""The screens: the chat, the list of threads, and two small dialogs."""
