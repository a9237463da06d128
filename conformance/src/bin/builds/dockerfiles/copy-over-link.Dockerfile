FROM tiny
RUN mkdir /real && ln -s /real /way && ln -s /real/file /file-link && echo x >/real/file
COPY a.txt /way/
COPY b.txt /file-link
