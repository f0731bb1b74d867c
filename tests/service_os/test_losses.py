from drivers.interface import MediumError
from service_os.losses import Losses

FULL = MediumError("No space left\non device: free\x1b some room")


def test_a_console_that_works_says_nothing(capsys):
    Losses("web/hvc0").worked()
    assert capsys.readouterr() == ("", "")


def test_losing_and_recovering_are_told_once_each(capsys):
    losses = Losses("web/hvc0")
    for _ in range(2):
        losses.failed(FULL)
        losses.failed(FULL)
        losses.worked()
        losses.worked()
    assert capsys.readouterr().err.splitlines() == [
        r"console output of web/hvc0 is lost: No space left on device: free\x1b some room",
        "console output of web/hvc0 works again",
    ]
