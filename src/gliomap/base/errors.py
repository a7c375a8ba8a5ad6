"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """One sentence for the user: which file, what was found, what was expected, what to do. Exit code 2."""
