FROM tiny
RUN mkdir -p /over/dir && echo old >/over/dir/file && echo other >/over/other
ADD archive.tar /over
