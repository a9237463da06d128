FROM tiny
ENV A=old
ENV A=new B=$A C=${A}
ENV D=$A
