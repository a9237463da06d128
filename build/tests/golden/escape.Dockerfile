# escape=`
FROM mcr.example.com/windows
COPY app.exe c:\app\
RUN dir c:\ `
    & echo `$x
ENV P="c:\Program Files\x" Q=a`$b R=`"q
WORKDIR c:\app
