"""The one error that a person sees: a sentence that names the file or field and says what would be right."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command returns to the shell; programs may rely on these."""

    DONE = 0
    FAILED = 1
    WRONG_USE = 2
    ANSWERS_MISSING = 3
    UNSAFE = 4


class ZoowizardError(Exception):
    """Something that a person can mend. The message is one plain sentence, ready to be shown."""

    exit_code = ExitCode.FAILED


class WrongUse(ZoowizardError):
    """A command, a file or an answer that cannot be what was meant."""

    exit_code = ExitCode.WRONG_USE


class UnsafeCheckpoint(ZoowizardError):
    """A checkpoint that would run code when loaded."""

    exit_code = ExitCode.UNSAFE
