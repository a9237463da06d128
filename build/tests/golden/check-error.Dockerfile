# check=skip=JSONArgsRecommended;error=true
FROM alpine
CMD not reported
ENV old style
