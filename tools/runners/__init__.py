"""Programs that run inside the sandbox. They are read as text, depend on the standard library and what the sandbox
offers, and never import OpenHearth."""
