# In the guest: the backend contract over one rail and two, push and pull, data byte by byte.
. /rails.sh
make_rails 2
conformance_tests --gtest_filter='*Verbs*' --gtest_brief=1 --gtest_color=no
