FROM tiny
COPY . /all/
