FROM tiny
COPY *.absent a.txt /some/
COPY none*/x /never/
