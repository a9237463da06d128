FROM tiny
RUN mkdir /a && touch /a/f && echo file >/b && ln -s /b /c
RUN rm -r /a && echo now a file >/a && rm /b && mkdir /b && touch /b/g && rm /c && mkdir /c
