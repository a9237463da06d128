FROM tiny
COPY --chown=nobody-here a.txt /a
COPY --chown=guest:no-group a.txt /b
COPY --chown=nobody-here:staff a.txt /c
COPY --chown=:no-group a.txt /d
