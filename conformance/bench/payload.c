/* /bin/true of the measured containers; with any argument it waits until it is killed. */
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)argv;
	if (argc > 1)
		for (;;)
			pause();
	return 0;
}
