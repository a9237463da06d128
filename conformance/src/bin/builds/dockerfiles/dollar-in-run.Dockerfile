FROM tiny
RUN X=1; echo $X ${X} $$ | cut -c1-3 >/x; echo '$HOME' "\$HOME" >>/x
