FROM	tiny
RUN	echo	tab	>/t	
ENV A=x   
