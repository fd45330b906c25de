# Asks the C library of this system, for each line `KIND IGNORE_CASE PATTERN SUBJECT` (the last two in hexadecimal), whether
# the pattern is right and found in the subject: `bad`, `yes` or `no`.
import ctypes
import sys

libc = ctypes.CDLL(None)
libc.setlocale.restype = ctypes.c_char_p
libc.setlocale(6, b"C")
EXTENDED, ICASE, NEWLINE, NOSUB = 1, 2, 4, 8
for line in sys.stdin:
    kind, ignore_case, pattern, subject = line.rstrip("\n").split(" ")
    pattern, subject = bytes.fromhex(pattern), bytes.fromhex(subject)
    if kind == "fnmatch":
        found = libc.fnmatch(pattern, subject, 0) == 0
    else:
        flags = NEWLINE | NOSUB | (EXTENDED if kind == "ere" else 0) | (ICASE if ignore_case == "1" else 0)
        compiled = ctypes.create_string_buffer(512)
        if libc.regcomp(compiled, pattern, flags) != 0:
            print("bad", flush=True)
            continue
        found = libc.regexec(compiled, subject, 0, None, 0) == 0
        libc.regfree(compiled)
    print("yes" if found else "no", flush=True)
