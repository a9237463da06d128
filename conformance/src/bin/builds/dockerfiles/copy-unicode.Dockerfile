FROM tiny
ENV Ä=ö
LABEL ключ=значение
COPY odd/größe-漢字 /größe
