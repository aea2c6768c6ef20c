/* Included once for each level, with LEVEL its name; see build.py for the compiler's options. */
#define JOIN2(a, b) a##_##b
#define JOIN(a, b) JOIN2(a, b)
#define NAMED(name) JOIN(name, LEVEL)
#define TEXT2(a) #a
#define TEXT(a) TEXT2(a)
