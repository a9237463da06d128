FROM tiny
ENV A=a B=b
ENV C=${UNSET:-${A}} D=${UNSET:-$A-$B} E=${UNSET:-"quoted $A"}
