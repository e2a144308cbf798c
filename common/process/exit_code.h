/* The exit codes both programs promise to scripts. Also sent over the control socket: a reload's answer carries one. */
#pragma once

enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,  /* at run time; nothing is left changed */
	EXIT_USAGE = 2,	  /* usage or the file is wrong; nothing was touched */
	EXIT_NOT_UP = 3,  /* status: not running, or not up */
	EXIT_NO_SUCH = 4, /* status: no such tunnel */
};
