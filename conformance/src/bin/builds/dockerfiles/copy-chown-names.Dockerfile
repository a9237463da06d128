FROM tiny
COPY --chown=guest:staff a.txt /a
COPY --chown=guest a.txt /b
COPY --chown=guest:0 tree /t/
