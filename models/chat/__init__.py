"""From messages to prompt text and back: templates, tool-call formats, grammars, and the streaming parser."""
