"""Writes are whole or not there at all."""

import os
import subprocess
import sys
import threading

import pytest

from rllm_assets.data import files
from rllm_assets.data.files import atomic_directory, atomic_file, write_text


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_file(path) as temporary:  # noqa: PT012 - fails half way
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_directory_replaces_the_old_one_as_a_whole(tmp_path):
    path = tmp_path / "artefact"
    for name in ("first", "second"):
        with atomic_directory(path) as temporary:
            (temporary / name).write_text(name)
    assert [p.name for p in path.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_directory_leaves_the_old_one(tmp_path):
    path = tmp_path / "artefact"
    with atomic_directory(path) as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(path) as temporary:  # noqa: PT012 - fails half way
        (temporary / "a").write_text("half")
        raise RuntimeError
    assert (path / "a").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_content(tmp_path):
    path = tmp_path / "artefact"
    with atomic_directory(path) as temporary:
        (temporary / "a").write_text("old")
    program = (
        "import sys, time, pathlib\n"
        "from rllm_assets.data.files import atomic_directory\n"
        "with atomic_directory(pathlib.Path(sys.argv[1])) as t:\n"
        "    (t / 'a').write_text('half'); print('writing', flush=True); time.sleep(600)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    with atomic_directory(path) as temporary:
        # The other one still writes.
        assert len(list(tmp_path.glob(".artefact.*.tmp"))) == 2
        (temporary / "a").write_text("second")
    writer.kill()
    writer.wait()
    assert (path / "a").read_text() == "second"
    with atomic_directory(path) as temporary:
        (temporary / "a").write_text("new")
    assert (path / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_there_is_no_moment_without_the_directory(tmp_path):
    path = tmp_path / "artefact"
    write_artefact(path, "old")
    missed, stop = [], threading.Event()

    def watch():
        while not stop.is_set():
            missed.extend([True] * (not (path / "a").exists()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for n in range(200):
        write_artefact(path, str(n))
    stop.set()
    watcher.join()
    assert missed == []


def test_a_file_system_that_cannot_exchange_names_replaces_it_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *_: False)
    path = tmp_path / "artefact"
    write_artefact(path, "old")
    write_artefact(path, "new")
    assert (path / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def write_artefact(path, text):
    with atomic_directory(path) as temporary:
        (temporary / "a").write_text(text)


def _umask():
    current = os.umask(0)
    os.umask(current)
    return current
