"""Pictures and videos as a caller may give them: files, bytes, base64, arrays, web addresses where they are allowed.

Everything is opened here, and a broken one is refused here, with one clear error that names it.
"""
