   FROM tiny
	ENV   A=1    B=2
   RUN    echo   spaced   >/s
