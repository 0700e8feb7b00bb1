from edgecls.cli.main import main

main()
