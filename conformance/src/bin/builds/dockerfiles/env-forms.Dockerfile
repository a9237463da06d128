FROM tiny
ENV A=1 B="two words" C='single $A' D=back\ slash E=
ENV F the rest of "the" line   with blanks
ENV G="a\"b" H='a"b' I=a\$b J="x\\y"
