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


@pytest.fixture(scope="session")
def small_pool(tmp_path_factory):
    """A folder with eight rows of the bundled calibration data: drawing all of them takes seconds."""
    from atv.bundled.data import calibration_pool

    folder = tmp_path_factory.mktemp("pool")
    calibration_pool(8).save_to_disk(folder)
    return folder
