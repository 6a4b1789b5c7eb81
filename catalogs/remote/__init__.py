"""Files that a catalogue points to, opened and read: only from where it may point, and only bytes that are proven right.

Every range that is asked for is compared with what is answered (status, `Content-Range`, length, file size, ETag), so that
an answer is right, asked for again, or an error; GDAL only decodes. Measured with GDAL 3.10: its own HTTP reader decodes the
bytes of a wrong `Content-Range` without a word, does not wait for `Retry-After`, asks once more at most where a body is
short, and follows a redirect to any address.
"""

from catalogs.remote.hrefs import Gone, Patience, Refused, RemoteError, Source, checked, checked_kind, options, plain_id, shown
from catalogs.remote.rasters import Beginning, Raster, open_raster, read_window

__all__ = [
    "Beginning",
    "Gone",
    "Patience",
    "Raster",
    "Refused",
    "RemoteError",
    "Source",
    "checked",
    "checked_kind",
    "open_raster",
    "options",
    "plain_id",
    "read_window",
    "shown",
]
