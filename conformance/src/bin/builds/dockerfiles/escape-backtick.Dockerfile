# escape=`
FROM tiny
RUN echo one `
    two >/words
ENV A=C:\dir B=`$x
