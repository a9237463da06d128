FROM nginx:1.18
COPY index.html /usr/share/nginx/html/index.html
COPY ./html/ /usr/share/nginx/html/
