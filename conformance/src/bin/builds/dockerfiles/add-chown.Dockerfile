FROM tiny
ADD --chown=1000:50 a.txt /a
ADD --chown=guest:staff tree /t/
