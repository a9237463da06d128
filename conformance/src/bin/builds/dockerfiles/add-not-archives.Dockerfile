FROM tiny
ADD a.txt /a
ADD fake.tar.gz /fake/
ADD plain.gz /gz/
ADD tree /tree/
