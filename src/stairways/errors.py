"""The errors of the project, drawn as one tree.

::

    StairwaysError                    one clear line: what, where, what to do
    ├── InputError                    bad input from the user; exit status 2
    │   ├── BarsError                 bars on disk that can't be used as they are
    │   ├── RangeError                session ranges that are empty, overlap or stand out of order
    │   ├── ConfigError               a setting that is unknown, out of bounds or contradicts another
    │   ├── ArtifactError             an artifact that is damaged, incomplete or not what it claims
    │   │   ├── MismatchError         a sound artifact that was made for something else
    │   │   └── SignatureError        an artifact or record without a signature that counts
    │   ├── SigningKeyError           a key or trust list that can't be used
    │   └── StorageError              a folder or database that can't be written or read
    ├── ServiceError                  a service that can't answer, or was asked what makes no sense; 3
    ├── PagingError                   a page that was refused, or neither delivered nor kept; 3
    └── TrainingError                 training that can't go on (numbers that are not finite, say); 3
"""

from __future__ import annotations


class StairwaysError(Exception):
    """Base of every error the project raises on purpose.

    Args:
        what: What is wrong, with the offending value and the limit.
        where: The file, option, symbol or date it was found in; empty when there is none.
        remedy: What the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what = what
        self.where = where
        self.remedy = remedy
        super().__init__(self.line())

    def line(self) -> str:
        """Return the error as one line: where, what, what to do."""
        text = f"{self.where}: {self.what}" if self.where else self.what
        text = f"{text}; {self.remedy}" if self.remedy else text
        return " ".join(text.split())


class InputError(StairwaysError):
    """Input that the user can mend."""


class BarsError(InputError):
    """Bars on disk that can't be used as they are."""


class RangeError(InputError):
    """Session ranges that are empty, overlap or stand out of order."""


class ConfigError(InputError):
    """A setting that is unknown, out of bounds or contradicts another."""


class ArtifactError(InputError):
    """An artifact that is damaged, incomplete or not what it claims."""


class MismatchError(ArtifactError):
    """A sound artifact that was made for something else; both values are named."""


class SignatureError(ArtifactError):
    """An artifact or record without a signature that counts."""


class SigningKeyError(InputError):
    """A key or trust list that can't be used."""


class StorageError(InputError):
    """A folder or database that can't be written or read."""


class PagingError(StairwaysError):
    """A page that was refused for good, or neither delivered nor kept."""


class TrainingError(StairwaysError):
    """Training that can't go on."""


class ServiceError(StairwaysError):
    """A service that can't answer, or was asked what makes no sense.

    Args:
        what: What is wrong.
        where: Where.
        remedy: What to do.
        status: Status of the HTTP answer.
    """

    def __init__(self, what: str, *, where: str = "", remedy: str = "", status: int = 500) -> None:
        self.status = status
        super().__init__(what, where=where, remedy=remedy)
