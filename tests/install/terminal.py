"""The live view on a pseudo-terminal: what a terminal shows in the end, whatever its width.

usage: terminal.py DIFFULEX MODEL
"""
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios

STORY = ("Continue the story: Near the old mill lived Anna the fox and Ben the owl. "
         "On a rainy day Anna found a silver key.")


def run(arguments, columns, rows, environment=(), interrupt=False):
    """The output and exit status of a command on a terminal of that size."""
    pid, master = pty.fork()
    if pid == 0:
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        os.environ.update(environment, TERM="xterm")
        os.execv(arguments[0], arguments)
    out = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # how Linux says that the other side is closed
            break
        if not piece:
            break
        out += piece
        if interrupt and b"step " in out:
            os.kill(pid, signal.SIGINT)
            interrupt = False
    return out.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Screen:
    """Enough of a terminal for what the view writes; counts rows that scrolled away."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows
        self.lines, self.top, self.row, self.column, self.cursor = [""], 0, 0, 0, True

    def newline(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append("")
        self.top = max(self.top, len(self.lines) - self.rows)

    def put(self, character):
        if self.column == self.columns:
            self.newline()
            self.column = 0
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[:self.column] + character + line[self.column + 1:]
        self.column += 1

    def escape(self, parameters, final):
        if final == "A":
            self.row = max(self.row - int(parameters or 1), self.top)
        elif final == "J":
            del self.lines[self.row + 1:]
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif final == "K":
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif parameters == "?25":
            self.cursor = final == "h"
        else:
            assert final == "m", (parameters, final)

    def write(self, text):
        for match in re.finditer("\x1b\\[([?0-9;]*)([A-Za-z])|(\n)|(\r)|([^\x1b])", text):
            if match[2]:
                self.escape(match[1], match[2])
            elif match[3]:
                self.newline()
            elif match[4]:
                self.column = 0
            else:
                self.put(match[5])
        return self


def generate(columns, rows, *more, **options):
    command = [sys.argv[1], "generate", "-m", sys.argv[2], "-p", STORY, *more]
    text, status = run(command, columns, rows, **options)
    return text, status, Screen(columns, rows).write(text)


def main():
    text, status, _ = generate(80, 24, "--view", "none")
    answer = text.split("\r\n")[-2].split("\x1b[K")[-1]
    assert status == 0 and len(answer) > 100, text
    for columns, rows in (80, 24), (33, 24), (20, 5), (7, 3):
        text, status, screen = generate(columns, rows, "--buffer-blocks", "4")
        assert status == 0 and "░" in text and "▏" in text, text
        assert screen.cursor, "the cursor stays hidden"
        # Nothing of the drawings is left: the answer, the status line, nothing else.
        shown = "".join(line.ljust(columns) for line in screen.lines)
        assert shown.count("░") == 0 and shown.count("denoising") <= 1, screen.lines
        assert "".join(screen.lines).startswith(answer[:columns]), (answer, screen.lines)
    text, status, _ = generate(80, 24, environment={"NO_COLOR": "1"})
    assert status == 0 and not re.search("\x1b\\[[0-9;]*m", text), text
    text, status, _ = generate(80, 24, environment={"TERM_PROGRAM": ""}, interrupt=True)
    screen = Screen(80, 24).write(text)
    # The answer may be complete before the signal arrives.
    assert screen.cursor and status in (0, 130), (status, text)
    assert (status == 130) == ("aborted" in text), (status, text)


main()
