FROM tiny
RUN echo x >/one && ln /one /two && mkdir /d && ln /one /d/three
RUN echo y >>/two
RUN echo z >/four && chown 1000:50 /four && chmod 640 /four && ln /four /five
