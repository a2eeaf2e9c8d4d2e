#!/usr/bin/python3
"""Runs a command on a pseudo terminal of its own and types the lines of stdin, one for each prompt.

A prompt is output that ends with ": " or "? ". The command's output is passed on; its exit code becomes ours.
"""
import os
import pty
import select
import sys
import time

answers = sys.stdin.read().splitlines()
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
seen, until = b"", time.monotonic() + 60
while time.monotonic() < until:
    if not select.select([terminal], [], [], 0.2)[0]:
        continue
    try:
        piece = os.read(terminal, 4096)
    except OSError:
        break
    if not piece:
        break
    sys.stdout.buffer.write(piece)
    seen += piece
    if answers and seen.endswith((b": ", b"? ")):
        # The reader turns the echo off with a flush: what is typed too early is lost.
        time.sleep(0.15)
        os.write(terminal, answers.pop(0).encode() + b"\n")
        seen = b""
sys.stdout.flush()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
