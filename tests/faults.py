"""A file system that is not local, and that fails, stalls or lies when it is told to."""

import io
import threading

import pyarrow as pa
from pyarrow import fs as pafs


class Faults(pafs.FileSystemHandler):
    """The local file system; each read first asks `fault(path, number of reads so far)`."""

    def __init__(self, fault=None):
        self.local = pafs.LocalFileSystem()
        self.fault = fault or (lambda path, reads: None)
        self.reads = 0
        self.lock = threading.Lock()

    def __eq__(self, other):
        return isinstance(other, Faults)

    def __ne__(self, other):
        return not self == other

    def get_type_name(self):
        return "faults"

    def normalize_path(self, path):
        return path

    def get_file_info(self, paths):
        return self.local.get_file_info(paths)

    def get_file_info_selector(self, selector):
        return self.local.get_file_info(selector)

    def open_input_file(self, path):
        with self.local.open_input_file(path) as file:
            content = file.read()
        return pa.PythonFile(_File(content, self, path), mode="r")

    open_input_stream = open_input_file

    def refuse(self, *args):
        raise NotImplementedError

    create_dir = delete_dir = delete_dir_contents = delete_root_dir_contents = refuse
    delete_file = move = copy_file = open_output_stream = open_append_stream = refuse

    def __reduce__(self):
        return Faults, ()


class _File(io.BytesIO):
    def __init__(self, content, handler, path):
        super().__init__(content)
        self.handler, self.path = handler, path

    def read(self, size=-1):
        with self.handler.lock:
            self.handler.reads += 1
            reads = self.handler.reads
        self.handler.fault(self.path, reads)
        return super().read(size)


def afar(fault=None):
    return pafs.PyFileSystem(Faults(fault))
