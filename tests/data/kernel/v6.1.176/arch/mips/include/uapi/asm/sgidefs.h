/* The ABIs by number. */
#ifndef MINI_MIPS_SGIDEFS_H
#define MINI_MIPS_SGIDEFS_H
#define _MIPS_SIM_ABI32 1
#define _MIPS_SIM_NABI32 2
#define _MIPS_SIM_ABI64 3
#endif
