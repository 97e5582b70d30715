import pytest

from atv.cli import main


@pytest.fixture
def atv_command(capsys):
    """Runs ``atv`` in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
