"""Errors that are shown to users: one line that a terminal can print, whatever value it names."""

LONGEST = 2_000
CUT = " ... "


def to_one_line(text: str) -> str:
    """Escapes line breaks, control characters and lone surrogates, and leaves out the middle of a long text.

    Example:
      >>> print(to_one_line("--seed=1\\n2: must be an integer"))
      --seed=1\\n2: must be an integer
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in leave_out_middle(text))
    return leave_out_middle(shown)


def leave_out_middle(text: str) -> str:
    """Shortens a text to `LONGEST` characters: the beginning names the setting or file, and the end says what to do."""
    if len(text) <= LONGEST:
        return text
    half = (LONGEST - len(CUT)) // 2
    return text[:half] + CUT + text[-half:]


def first_line(error: BaseException, longest: int = LONGEST) -> str:
    """Returns the first line of an error's text, or the name of the error if it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:longest]


class OneLineError(Exception):
    """An error whose text is one line."""

    def __init__(self, text: str) -> None:
        super().__init__(to_one_line(text))
