#ifndef MINI_BPF_H
#define MINI_BPF_H
enum bpf_cmd { BPF_MAP_CREATE, BPF_MAP_LOOKUP_ELEM, BPF_PROG_LOAD = 5, BPF_OBJ_PIN, };
/* A macro stands for names of an enum. */
#define MINI_MAPPER(FN) FN(unspec, 0) FN(map_lookup_elem, 1) FN(map_update_elem, 2)
#define MINI_NAME(x, y) BPF_FUNC_ ## x = y,
enum bpf_func_id {
	MINI_MAPPER(MINI_NAME)
	__BPF_FUNC_MAX_ID,
};
enum { BPF_F_INDEX_MASK = 0xffffffffULL, BPF_F_CURRENT_CPU = BPF_F_INDEX_MASK, };
#endif
