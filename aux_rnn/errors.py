"""Errors that are shown to users: one line that a terminal can print, whatever value it names."""

MAX_LENGTH = 2_000
CUT = " ... "


def to_one_line(text: str) -> str:
    """Escapes line breaks, control characters and lone surrogates, and leaves out the middle of a long text.

    Example:
      >>> print(to_one_line("seed=1\\n2: must be an integer"))
      seed=1\\n2: must be an integer
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in leave_out_middle(text))
    return leave_out_middle(shown)


def leave_out_middle(text: str) -> str:
    """Shortens a text to `MAX_LENGTH` characters: the beginning names the setting or file, the end the remedy."""
    if len(text) <= MAX_LENGTH:
        return text
    half = (MAX_LENGTH - len(CUT)) // 2
    return text[:half] + CUT + text[-half:]


def first_line(error: BaseException, longest: int = MAX_LENGTH) -> str:
    """Returns the first line of an error's text, or the name of the error if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:longest]


class OneLineError(Exception):
    """An error whose text is one line."""

    def __init__(self, text: str) -> None:
        super().__init__(to_one_line(text))
