// validation: prints docs/validation.md.
#include <iostream>

#include "tests/validation/rows.h"

int main() { std::cout << kvhaul::test::validation_page(kvhaul::test::validation_rows()); }
