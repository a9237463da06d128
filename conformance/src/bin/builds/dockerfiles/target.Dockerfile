FROM tiny AS first
RUN echo 1 >/1
FROM first AS middle
RUN echo 2 >/2
CMD middle
FROM middle
RUN exit 9
