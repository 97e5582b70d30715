import pytest

from atv.cli import main


@pytest.fixture
def atv_command(capsys):
    """Runs ``atv`` in this process: (exit code, standard output, standard error).

    ``done`` is for what must succeed, and gives the output; ``refused`` for wrong input, and gives the error.
    """

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    def done(*arguments):
        code, out, err = run(*arguments)
        assert code == 0, err
        return out

    def refused(*arguments):
        code, _, err = run(*arguments)
        assert code == 2, err
        return err

    run.done, run.refused = done, refused
    return run
